"""What a page holds and what it shows, without a browser."""


def after(given, updates):
    """What the page holds once updates have reached it."""
    new = {}
    for widget, update in updates.items():
        if not (isinstance(update, dict) and update.get("__type__") == "update"):
            new[widget] = update
        elif "value" in update:
            new[widget] = update["value"]
    return {**given, **new}


def holding(asks, settings, picture=None, **more):
    """What the page holds once it asks for these settings; `more` are widgets' values by field."""
    held = after({}, asks.write(settings, picture))
    return {**held, **{asks.of[name]: value for name, value in more.items()}}


def told(asks, updates, name, what):
    """What updates say of the widget of a field; None if nothing."""
    return updates.get(asks.of[name], {}).get(what)
