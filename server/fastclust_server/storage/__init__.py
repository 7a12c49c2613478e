"""Files of the data folder and the rows that make them count."""
