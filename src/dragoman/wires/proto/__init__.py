"""Message types made from the .proto files beside them by `make proto`."""
