// Package recipes reads the YAML file that describes a training run, and holds the recipes that ship with the program.
//
// A recipe says which model, and for each stage (its sections pretrain and finetune) which data, which parts train and
// how. Where its data goes:
//
//  1. Load reads the file (at most 1 MB, one document) into YAML nodes, which keep line numbers.
//  2. override.go puts the values of --set into the tree.
//  3. decode.go walks the tree along the struct fields of Recipe, over the defaults of recipe.go, and notes every
//     unknown or repeated key, wrong type, alias and tag.
//  4. check.go applies the rules that need values: what is required, ranges, choices, keys that exclude each other.
//  5. paths.go makes paths absolute; they are relative to the recipe file.
//  6. The caller gets a Recipe with every default filled in, or Problems: all that is wrong, each with its line.
//
// A key is added by adding a field to a struct in recipe.go (with its default there), a rule in check.go where it has
// one, a row in paths.go when it names a file, and a line in testdata/keys.golden.
package recipes
