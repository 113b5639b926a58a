package shapes

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
)

//go:embed base/tower.json base/preprocessor_config.json base/language.json base/tokenizer_config.json
var baseFiles embed.FS

//go:embed model
var modelFiles embed.FS

// WriteModel writes the demo's base to dir: a tower and a language model in one LLaVA folder without a projector, with
// their tokenizer. It was made with the recipe shapes-base (scripts/shapes-base.sh).
func WriteModel(dir string) error { return writeFiles(dir, modelFiles, "model") }

// WriteConfigs writes the architecture of the demo's base to dir: tower.json (CLIP vision tower) with
// preprocessor_config.json, language.json (Llama) with tokenizer.model and tokenizer_config.json.
func WriteConfigs(dir string) error {
	if err := writeFiles(dir, baseFiles, "base"); err != nil {
		return err
	}
	return writeTokenizer(filepath.Join(dir, "tokenizer.model"))
}

// writeFiles copies an embedded folder to dir.
func writeFiles(dir string, files embed.FS, folder string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("folder %q: %w", folder, err)
	}
	entries, err := files.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("folder %q: %w", folder, err)
	}
	for _, entry := range entries {
		content, err := files.ReadFile(folder + "/" + entry.Name())
		if err != nil {
			return fmt.Errorf("folder %q: %w", folder, err)
		}
		if err := os.WriteFile(filepath.Join(dir, entry.Name()), content, 0o644); err != nil {
			return fmt.Errorf("folder %q: %w", folder, err)
		}
	}
	return nil
}
