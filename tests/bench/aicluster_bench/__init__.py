"""What a run without changes costs, next to other ways of checking the same."""
