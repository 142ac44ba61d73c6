"""``python -m dollhouse.cli``."""

from dollhouse.cli import main

main()
