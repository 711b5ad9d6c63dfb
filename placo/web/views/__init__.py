"""The screens: thin functions that ask a selector or a use case and render."""
