"""Option contracts, pricing, the volatility surface and the structures built of them."""
