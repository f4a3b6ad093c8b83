#!/bin/sh
# Makes sure that the browser tests find a Chromium and the training tests the emoji font.
# Looks first, installs only what is missing, and says in a sentence what it could not do.
# PYTHON: a Python that has playwright (default: .venv/bin/python).  CHROMIUM: a browser that is nowhere on the PATH.
set -eu
PYTHON=${PYTHON:-.venv/bin/python}

on_path() {
    if [ -n "${CHROMIUM:-}" ]; then return 0; fi
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        if command -v "$name" >/dev/null 2>&1; then return 0; fi
    done
    return 1
}

# playwright's own browser counts when it starts: its libraries may be missing even where it is downloaded
playwrights_own_starts() {
    "$PYTHON" - >/dev/null 2>&1 <<'PY'
from playwright.sync_api import sync_playwright

with sync_playwright() as playwright:
    playwright.chromium.launch(args=["--no-sandbox"]).close()
PY
}

download() {
    echo "No Chromium found: asking playwright for its own."
    PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT=15000 "$PYTHON" -m playwright install chromium >/dev/null 2>&1 &&
        playwrights_own_starts
}

apt_install() {
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then return 1; fi
    echo "Installing Debian's $1."
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$1"; } >/dev/null
}

# the places that ldm/data/glyphs.py looks in
has_font() {
    for font in "${LDM_EMOJI_FONT:-}" \
        /usr/share/fonts/truetype/noto/NotoColorEmoji.ttf \
        /usr/share/fonts/noto/NotoColorEmoji.ttf \
        /usr/share/fonts/google-noto-emoji/NotoColorEmoji.ttf \
        /usr/share/fonts/google-noto-color-emoji-fonts/NotoColorEmoji.ttf; do
        if [ -f "$font" ]; then return 0; fi
    done
    return 1
}

if ! on_path && ! playwrights_own_starts && ! download && ! { apt_install chromium && on_path; }; then
    echo "The browser tests need Chromium or Google Chrome on the PATH, or named in CHROMIUM; none could be installed here." >&2
    echo "Install one, or run the tests that need none:  make test-quick" >&2
    exit 1
fi

if ! has_font && ! { apt_install fonts-noto-color-emoji && has_font; }; then
    echo "Noto Color Emoji was not found and could not be installed: tests that draw with it are skipped." >&2
    echo "On Debian or Ubuntu:  sudo apt-get install fonts-noto-color-emoji.  Elsewhere name the file in LDM_EMOJI_FONT." >&2
fi
