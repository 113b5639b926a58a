// Package datasets has the commands that look at data: check, preview, shard, ledger.
package datasets
