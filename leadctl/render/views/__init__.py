"""Views: what people see of each result, as blocks."""
