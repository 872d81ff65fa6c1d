"""What watches, pays, schedules, records and recovers."""
