// Comparisons with a constant as logic: a carry chain takes a cell a bit.
(* techmap_celltype = "$lt $le $gt $ge" *)
module constant_comparison (A, B, Y);
parameter A_SIGNED = 0;
parameter B_SIGNED = 0;
parameter A_WIDTH = 0;
parameter B_WIDTH = 0;
parameter Y_WIDTH = 0;
parameter _TECHMAP_CELLTYPE_ = "";
parameter _TECHMAP_CONSTMSK_A_ = 0;
parameter _TECHMAP_CONSTMSK_B_ = 0;
input [A_WIDTH-1:0] A;
input [B_WIDTH-1:0] B;
output [Y_WIDTH-1:0] Y;
localparam W = A_WIDTH > B_WIDTH ? A_WIDTH : B_WIDTH;
wire _TECHMAP_FAIL_ = A_SIGNED || B_SIGNED || !(&_TECHMAP_CONSTMSK_A_ || &_TECHMAP_CONSTMSK_B_);
wire [W-1:0] a = A;
wire [W-1:0] b = B;
// less[i]: of the bits below i, A is less than B; even if equal, for $le and $gt.
wire [W:0] less;
assign less[0] = _TECHMAP_CELLTYPE_ == "$le" || _TECHMAP_CELLTYPE_ == "$gt";
genvar i;
generate
   for (i = 0; i < W; i = i + 1) begin : bit_of
      assign less[i + 1] = (~a[i] & b[i]) | (~(a[i] ^ b[i]) & less[i]);
   end
endgenerate
assign Y = _TECHMAP_CELLTYPE_ == "$lt" || _TECHMAP_CELLTYPE_ == "$le" ? less[W] : !less[W];
endmodule
