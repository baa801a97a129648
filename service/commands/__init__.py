"""The subcommands of `pollux`, one file each. They alone start engines and brokers, lazily."""
