"""Scalar functions with a derivative, and how they are compiled into the kernels."""
