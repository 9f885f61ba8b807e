"""Settings: flags, environment, `.env` files and leadctl.toml as one frozen object."""

from leadctl.settings.load import load_settings
from leadctl.settings.model import AppConfig, EnvironmentConfig, Settings

__all__ = ["AppConfig", "EnvironmentConfig", "Settings", "load_settings"]
