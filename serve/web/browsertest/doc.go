// Package browsertest is the tests of the web program's page in a browser. They drive Chromium by its DevTools
// protocol, and are skipped where Chromium is not installed. SCREENSHOTS=DIR keeps pictures of the page in many states.
package browsertest
