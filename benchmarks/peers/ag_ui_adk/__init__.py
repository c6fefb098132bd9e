"""ag-ui-adk behind a server of its own."""
