"""What the code must equal, written as loops the way the formulas stand in their sources: slow and plain."""
