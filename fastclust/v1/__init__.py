"""Messages and stubs generated from ``proto/``. Never edited by hand: ``proto/generate.sh`` writes them."""
