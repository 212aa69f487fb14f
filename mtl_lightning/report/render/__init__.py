"""Building blocks of reports: HTML, SVG, heat maps, and tables on the terminal."""
