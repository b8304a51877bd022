"""Python runs this before a program: it begins where Windows is simulated."""

from tests.simulated_windows.system import simulate_windows

simulate_windows()
