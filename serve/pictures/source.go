package pictures

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/llavatrain/llavatrain/serve"
)

// MaxFile is the most bytes of a picture's file.
const MaxFile = 16 << 20

// FromURI reads the file in a data URI of OpenAI's image_url. Addresses are not fetched: a server that does can be made
// to ask its own network (vLLM's CVE-2025-6242). The error is a *serve.Refusal.
func FromURI(uri string) ([]byte, error) {
	const scheme = "data:"
	if len(uri) < len(scheme) || !strings.EqualFold(uri[:len(scheme)], scheme) {
		return nil, refuse("Pictures are not fetched from addresses: send the file itself, as " +
			"data:image/png;base64,….")
	}
	kind, text, found := strings.Cut(uri[len(scheme):], ",")
	if base, ok := cutSuffixFold(kind, ";base64"); !found || !ok || len(base) > 100 {
		return nil, refuse("A picture has the form data:image/png;base64,…, with the file in base64.")
	}
	return FromBase64(text)
}

// FromText reads a picture of LLaVA's protocol: base64, or a data URI too. The error is a *serve.Refusal.
func FromText(text string) ([]byte, error) {
	if strings.Contains(text[:min(len(text), 8)], ":") { // which base64 has not
		return FromURI(text)
	}
	return FromBase64(text)
}

func cutSuffixFold(text, suffix string) (string, bool) {
	at := len(text) - len(suffix)
	if at < 0 || !strings.EqualFold(text[at:], suffix) {
		return text, false
	}
	return text[:at], true
}

// FromBase64 reads the file in base64, in the standard or URL alphabet, with padding or without. White space is
// dropped, as by Python's b64decode, which LLaVA's worker calls; other foreign characters, which that drops too, are
// refused. The error is a *serve.Refusal.
func FromBase64(text string) ([]byte, error) {
	if base64.StdEncoding.DecodedLen(len(text)) > 2*MaxFile {
		return nil, tooLarge()
	}
	kept := make([]byte, 0, len(text))
	for _, c := range []byte(text) {
		switch c {
		case ' ', '\t', '\r', '\n', '\v', '\f':
		case '-':
			kept = append(kept, '+')
		case '_':
			kept = append(kept, '/')
		default:
			kept = append(kept, c)
		}
	}
	for range 2 {
		if n := len(kept); n > 0 && kept[n-1] == '=' {
			kept = kept[:n-1]
		}
	}
	n, err := base64.RawStdEncoding.Decode(kept, kept)
	switch {
	case err != nil:
		return nil, refuse("A picture is not base64.")
	case n == 0:
		return nil, refuse("A picture is empty.")
	case n > MaxFile:
		return nil, tooLarge()
	}
	return kept[:n], nil
}

func tooLarge() error {
	return refuse("A picture's file is over the limit of 16 MiB. Send a smaller one.")
}

func refuse(format string, args ...any) error {
	return &serve.Refusal{Reason: serve.BadPicture, Text: fmt.Sprintf(format, args...)}
}
