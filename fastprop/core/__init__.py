"""The model below the public `Network`: argument validation, engines, threads."""
