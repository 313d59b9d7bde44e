"""What people and machines are shown of rows, plans and evidence."""
