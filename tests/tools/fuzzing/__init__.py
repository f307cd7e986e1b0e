"""Bad input by the thousand: whatever is read must end in a clear error or in a correct result."""
