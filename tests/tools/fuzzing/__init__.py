"""Many bad inputs: whatever is read must end in a clear error or in a correct result."""
