"""The compiled half of fastprop: from 16 floats (`simd`) to a whole epoch (`passes`).

For one's own compiled loops, every kernel here may be called from `@njit` code; see `equations` and `passes`.
"""
