"""Statistics of a study, and the page that shows them."""
