"""Training for whole epochs: the fit, its history, its files and its progress bar."""
