"""Speed, memory and endurance, measured."""
