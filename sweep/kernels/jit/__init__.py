"""The compiler: functions and generated programs that numba turns into machine code, kept on disk."""
