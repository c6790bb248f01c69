"""The demo set: small captioned videos of moving shapes."""
