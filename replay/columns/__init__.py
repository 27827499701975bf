"""Columns of a table become fields of an event: cells as ids, times, numbers and truths, expressions over columns, the mapping itself."""
