"""Random schedules of faults, from repeatable seeds: ``make drill SEED=7``."""
