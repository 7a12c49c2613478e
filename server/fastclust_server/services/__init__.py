"""The gRPC services: decode, call, encode. No maths."""
