"""Messages and stubs generated from ``proto/``. Never edited by hand: ``tools/protos.sh`` writes them."""
