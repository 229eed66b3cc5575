"""Pictures for papers, drawn with matplotlib, which is imported only when one is drawn."""
