"""What the browser gets: screens, live events and, in `placo.web.api`, the API."""
