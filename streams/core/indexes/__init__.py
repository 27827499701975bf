"""What may be shown, kept in the orders that candidates are taken by."""
