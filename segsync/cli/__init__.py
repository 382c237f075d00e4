"""The command line: typer commands, and the one place where errors become exit statuses."""
