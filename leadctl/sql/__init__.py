"""Reading the SQL of a revision: statements, and what each does to which table."""
