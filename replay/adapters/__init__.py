"""Forms of files (JSON lines, tables), and what any of them can be turned into: items, slates with drawn negatives."""
