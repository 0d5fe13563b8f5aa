"""Charts as plain numbers: where each shape of an inline SVG is. Templates draw them."""
