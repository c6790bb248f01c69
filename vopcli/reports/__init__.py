"""Pages and pictures of results: tables and charts are computed here and drawn by the templates."""
