"""The records that the service exchanges with its users: types, validation, codes and JSON Schemas."""
