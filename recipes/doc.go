// Package recipes reads the YAML file that describes a training run and embeds the recipes that ship with the program.
//
// A recipe names the model and, for each stage (the sections pretrain and finetune), the data, the parts that train and
// how they train. How a recipe is loaded:
//
//  1. Load reads the file (at most 1 MB, one document) into YAML nodes, which keep line numbers.
//  2. override.go puts the values of --set into the tree.
//  3. decode.go walks the tree along the struct fields of Recipe, over the defaults of recipe.go, and notes every
//     unknown or repeated key, wrong type, alias and tag.
//  4. check.go applies the rules on values: required keys, ranges, choices, keys that exclude each other.
//  5. paths.go makes paths absolute; they are relative to the recipe file.
//  6. The caller gets a Recipe with every default filled in, or Problems: everything that is wrong, each with its line.
//
// To add a key, add a field to a struct in recipe.go (with its default), a rule in check.go if it has one, a row in
// paths.go if it is a path, and a line in testdata/keys.golden.
package recipes
