// Prints the parity that ISA-L makes, as the Swift literal in Tests/CodingTests/GoldenParity.swift.
//
// build and run: cc -O2 isal.c -lisal -o isal && ./isal > ../../Tests/CodingTests/GoldenParity.swift
//
// For every k from 1 to 16: four parity shards of 16 bytes. Data byte i of shard j is
// (j · 73 + i · 29 + j · i · 7 + 3) mod 256. Parity rows do not depend on how many there are.
#include <isa-l/erasure_code.h>
#include <stdio.h>

int main(void) {
  puts("// Made by Tools/oracles/isal.c with ISA-L; see there how.\n");
  puts("/// For k = 1 … 16: four parity shards of 16 bytes, in hex.");
  puts("let goldenParity: [String] = [");
  for (int k = 1; k <= 16; k++) {
    unsigned char data[16][16], parity[4][16], matrix[20 * 16], tables[32 * 16 * 4];
    unsigned char *sources[16], *targets[4];
    for (int j = 0; j < k; j++) {
      sources[j] = data[j];
      for (int i = 0; i < 16; i++) data[j][i] = (unsigned char)(j * 73 + i * 29 + j * i * 7 + 3);
    }
    for (int r = 0; r < 4; r++) targets[r] = parity[r];
    gf_gen_rs_matrix(matrix, k + 4, k);
    ec_init_tables(k, 4, matrix + k * k, tables);
    ec_encode_data(16, k, 4, tables, sources, targets);
    printf("  \"");
    for (int r = 0; r < 4; r++) {
      if (r == 2) printf("\"\n    + \"");
      for (int i = 0; i < 16; i++) printf("%02x", parity[r][i]);
    }
    puts("\",");
  }
  puts("]");
  return 0;
}
