from spy_assets_tests.warehouse.profiles import empty_profile, postgres, settings, warehouse

__all__ = ["empty_profile", "postgres", "settings", "warehouse"]
