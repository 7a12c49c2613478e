"""The gRPC server: accepts, stores and answers in one process; the work is done in another."""
