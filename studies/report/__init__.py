"""A study told: on one page in HTML, and in a page of Markdown."""
