package synth

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
)

//go:embed base/tower.json base/preprocessor_config.json base/language.json base/tokenizer_config.json
var baseFiles embed.FS

// WriteConfigs writes the architecture of the demo's base into dir: tower.json (CLIP vision tower) with
// preprocessor_config.json, language.json (Llama) with tokenizer.model and tokenizer_config.json.
func WriteConfigs(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("configs: %w", err)
	}
	entries, err := baseFiles.ReadDir("base")
	if err != nil {
		return fmt.Errorf("configs: %w", err)
	}
	for _, entry := range entries {
		content, err := baseFiles.ReadFile("base/" + entry.Name())
		if err != nil {
			return fmt.Errorf("configs: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, entry.Name()), content, 0o644); err != nil {
			return fmt.Errorf("configs: %w", err)
		}
	}
	return writeTokenizer(filepath.Join(dir, "tokenizer.model"))
}
