"""Online calls: their own process, its link with the front end, models, and batches across callers."""
